/** What there is: /api, /apis, OpenAPI. Thin, but enough for kubectl to find its way and to validate nothing away. */
import { createHash } from 'node:crypto';
import { apiVersionOf, type Registry, type Resource } from './registry.ts';
import { reviewKinds } from './reviews.ts';
import { openApiProperties } from './schema.ts';

const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

function resourceEntry(resource: Resource): readonly object[] {
  const { plural: name, singular: singularName, namespaced, kind, shortNames, categories } = resource;
  const entry = {
    name,
    singularName,
    namespaced,
    kind,
    verbs,
    ...(shortNames.length > 0 ? { shortNames } : {}),
    ...(categories.length > 0 ? { categories } : {}),
  };
  const sub = (suffix: string, subKind: string, subVerbs: readonly string[], extra: object = {}): object => ({
    name: `${name}/${suffix}`,
    singularName: '',
    namespaced,
    kind: subKind,
    verbs: subVerbs,
    ...extra,
  });
  return [
    entry,
    ...(resource.hasStatus ? [sub('status', kind, ['get', 'patch', 'update'])] : []),
    ...(resource.hasScale
      ? [sub('scale', 'Scale', ['get', 'patch', 'update'], { group: 'autoscaling', version: 'v1' })]
      : []),
    ...(kind === 'Pod'
      ? [
          sub('log', 'Pod', ['get']),
          sub('exec', 'PodExecOptions', ['create', 'get']),
          sub('binding', 'Binding', ['create']),
          sub('eviction', 'Eviction', ['create'], { group: 'policy', version: 'v1' }),
        ]
      : []),
  ];
}

const virtual: Readonly<Record<string, readonly object[]>> = Object.groupBy(
  reviewKinds.map(([groupVersion, name, kind]) => ({
    groupVersion,
    name,
    singularName: kind.toLowerCase(),
    namespaced: false,
    kind,
    verbs: ['create'],
  })),
  entry => entry.groupVersion,
) as Readonly<Record<string, readonly object[]>>;

export function resourceList(registry: Registry, groupVersion: string): object | undefined {
  const resources = registry.all().filter(resource => apiVersionOf(resource) === groupVersion);
  const extra = virtual[groupVersion];
  if (resources.length === 0 && extra === undefined) return undefined;
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion,
    resources: extra ?? resources.flatMap(resourceEntry),
  };
}

function groupVersions(registry: Registry): readonly string[] {
  return [
    ...new Set([
      ...registry
        .all()
        .filter(resource => resource.group !== '')
        .map(apiVersionOf),
      ...Object.keys(virtual),
    ]),
  ];
}

export function groupList(registry: Registry): object {
  const byGroup = new Map<string, { readonly groupVersion: string; readonly version: string }[]>();
  for (const groupVersion of groupVersions(registry)) {
    const [group = '', version = ''] = groupVersion.split('/');
    byGroup.set(group, [...(byGroup.get(group) ?? []), { groupVersion, version }]);
  }
  const groups = [...byGroup].map(([name, versions]) => ({ name, versions, preferredVersion: versions[0] }));
  return { kind: 'APIGroupList', apiVersion: 'v1', groups };
}

export function apiVersions(): object {
  return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
}

export const versionInfo = {
  major: '1',
  minor: '33',
  gitVersion: 'v1.33.4',
  gitCommit: '0000000000000000000000000000000000000000',
  gitTreeState: 'clean',
  buildDate: '2026-01-01T00:00:00Z',
  goVersion: 'none',
  compiler: 'none',
  platform: 'linux/amd64',
};

function schemaName(resource: Resource): string {
  return `io.k8s.api.${resource.group === '' ? 'core' : resource.group.split('.')[0]}.${resource.version}.${resource.kind}`;
}

function schemaOf(resource: Resource): object {
  return {
    type: 'object',
    description: `${resource.kind}: served by the sandbox; fields beyond metadata are kept as they are given.`,
    properties: (resource.columns === undefined ? openApiProperties(resource.kind) : undefined) ?? {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
      spec: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
      status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
    },
    'x-kubernetes-preserve-unknown-fields': true,
    'x-kubernetes-group-version-kind': [{ group: resource.group, kind: resource.kind, version: resource.version }],
  };
}

/** kubectl keeps what it once read under a hash. */
function contentHash(document: object): string {
  return createHash('sha256').update(JSON.stringify(document)).digest('hex').slice(0, 16);
}

export function openApiV3Index(registry: Registry): object {
  const path = (groupVersion: string): string => (groupVersion === 'v1' ? 'api/v1' : `apis/${groupVersion}`);
  const all = ['v1', ...groupVersions(registry)];
  return {
    paths: Object.fromEntries(
      all.map(groupVersion => [
        path(groupVersion),
        {
          serverRelativeURL: `/openapi/v3/${path(groupVersion)}?hash=${contentHash(openApiV3(registry, groupVersion))}`,
        },
      ]),
    ),
  };
}

export function openApiV3(registry: Registry, groupVersion: string): object {
  const resources = registry.all().filter(resource => apiVersionOf(resource) === groupVersion);
  const paths = resources.map(resource => {
    const base = resource.group === '' ? '/api/v1' : `/apis/${groupVersion}`;
    const action = { group: resource.group, kind: resource.kind, version: resource.version };
    const parameters = ['dryRun', 'fieldManager', 'fieldValidation'].map(name => ({
      name,
      in: 'query',
      schema: { type: 'string', uniqueItems: true },
    }));
    const verb = (name: string): object => ({
      'x-kubernetes-action': name,
      'x-kubernetes-group-version-kind': action,
      parameters,
      responses: { 200: { description: 'OK' } },
    });
    const collection = resource.namespaced
      ? `${base}/namespaces/{namespace}/${resource.plural}`
      : `${base}/${resource.plural}`;
    return [
      [collection, { get: verb('list'), post: verb('post') }],
      [`${collection}/{name}`, { get: verb('get'), put: verb('put'), patch: verb('patch'), delete: verb('delete') }],
    ] as const;
  });
  return {
    openapi: '3.0.0',
    info: { title: 'Ciliate sandbox', version: versionInfo.gitVersion },
    paths: Object.fromEntries(paths.flat()),
    components: { schemas: Object.fromEntries(resources.map(resource => [schemaName(resource), schemaOf(resource)])) },
  };
}

export function openApiV2(registry: Registry): object {
  return {
    swagger: '2.0',
    info: { title: 'Ciliate sandbox', version: versionInfo.gitVersion },
    paths: {},
    definitions: Object.fromEntries(registry.all().map(resource => [schemaName(resource), schemaOf(resource)])),
  };
}

/**
 * The OpenAPI v2 document without definitions as protobuf (gnostic's openapi.v2.Document: swagger = 1, info = 2 { title = 1,
 * version = 2 }). Old kubectl (before 1.27) takes no other form, and skips its own validation of kinds that are not defined.
 */
export function openApiV2Protobuf(): Buffer {
  const field = (number: number, content: string | Buffer): Buffer => {
    const bytes = Buffer.from(content);
    return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);
  };
  const info = Buffer.concat([field(1, 'Ciliate sandbox'), field(2, versionInfo.gitVersion)]);
  return Buffer.concat([field(1, '2.0'), field(2, info)]);
}
