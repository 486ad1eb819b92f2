/** Where the API server is and how to authenticate: a kubeconfig file, or the service account of the pod we run in. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { SourceError } from './errors.ts';

export interface KubeConfig {
  /** Base URL, no slash at the end. */
  readonly server: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly token?: string;
  /** Read again for each connection: service account tokens rotate. */
  readonly tokenFile?: string;
  readonly username?: string;
  readonly password?: string;
  readonly insecure: boolean;
  readonly serverName?: string;
}

type Fields = Readonly<Record<string, unknown>>;

const accountDir = '/var/run/secrets/kubernetes.io/serviceaccount';

/** @throws SourceError NO_KUBECONFIG, BAD_KUBECONFIG */
export async function loadKubeConfig(path: string | undefined): Promise<KubeConfig> {
  if (path !== undefined && path !== '') return fromFile(path);
  const inCluster = fromServiceAccount(process.env);
  if (inCluster !== undefined) return inCluster;
  throw new SourceError(
    { code: 'NO_KUBECONFIG', object: accountDir },
    'no API server known: give --k8s-kubeconfig-path, or run in a pod with a service account',
  );
}

async function fromFile(path: string): Promise<KubeConfig> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new SourceError({ code: 'NO_KUBECONFIG', object: path }, `cannot read ${path}: check --k8s-kubeconfig-path`, {
      cause,
    });
  }
  return fromDocument(await parseText(path, text), path);
}

/** JSON is tried first: it is YAML too, and then the YAML library need not be loaded. */
async function parseText(path: string, text: string): Promise<unknown> {
  try {
    return text.trimStart().startsWith('{') ? JSON.parse(text) : (await import('yaml')).parse(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SourceError({ code: 'BAD_KUBECONFIG', object: path }, `${path} is no YAML: ${why}`, { cause });
  }
}

/** Uses the current context. File names in it are relative to the kubeconfig. */
export function fromDocument(document: unknown, path: string): KubeConfig {
  const root = fields(document);
  const context = fields(named(root, 'contexts', text(root['current-context'])).context);
  const cluster = fields(named(root, 'clusters', text(context.cluster)).cluster);
  const user = fields(named(root, 'users', text(context.user)).user);
  const server = text(cluster.server);
  if (server === undefined) {
    throw new SourceError({ code: 'BAD_KUBECONFIG', object: path }, `${path}: the current context names no server`);
  }
  const base = dirname(path);
  const tokenFile = text(user.tokenFile);
  return defined({
    server: server.replace(/\/+$/, ''),
    insecure: cluster['insecure-skip-tls-verify'] === true,
    ca: dataOrFile(cluster, 'certificate-authority', base),
    cert: dataOrFile(user, 'client-certificate', base),
    key: dataOrFile(user, 'client-key', base),
    token: text(user.token),
    tokenFile: tokenFile === undefined ? undefined : resolve(base, tokenFile),
    username: text(user.username),
    password: text(user.password),
    serverName: text(cluster['tls-server-name']),
  });
}

function fromServiceAccount(env: Readonly<Record<string, string | undefined>>): KubeConfig | undefined {
  const host = env.KUBERNETES_SERVICE_HOST;
  const port = env.KUBERNETES_SERVICE_PORT ?? '443';
  if (host === undefined || !existsSync(`${accountDir}/token`)) return undefined;
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca: readFileSync(`${accountDir}/ca.crt`, 'utf8'),
    tokenFile: `${accountDir}/token`,
    insecure: false,
  };
}

type Loose<T> = { readonly [K in keyof T]: T[K] | undefined };

function defined(config: Loose<KubeConfig> & { readonly server: string; readonly insecure: boolean }): KubeConfig {
  const entries = Object.entries(config).filter(([, value]) => value !== undefined);
  return { ...(Object.fromEntries(entries) as Partial<KubeConfig>), server: config.server, insecure: config.insecure };
}

function dataOrFile(object: Fields, name: string, base: string): string | undefined {
  const data = text(object[`${name}-data`]);
  if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8');
  const file = text(object[name]);
  return file === undefined ? undefined : readFileSync(resolve(base, file), 'utf8');
}

function named(root: Fields, list: string, name: string | undefined): Fields {
  const items = Array.isArray(root[list]) ? (root[list] as readonly unknown[]) : [];
  return fields(items.find(item => fields(item).name === name));
}

const fields = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {});
const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);
