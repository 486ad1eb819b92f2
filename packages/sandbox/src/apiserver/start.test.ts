import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { at, textAt } from './object.ts';
import { type ApiServerOptions, type RunningApiServer, startApiServer } from './start.ts';

const options: ApiServerOptions = {
  listen: ['127.0.0.1:0'],
  serviceCidrs: ['10.96.0.0/16'],
  podCidrs: ['10.244.0.0/16'],
  nodePorts: [30_000, 32_767],
  kubeletDir: '/nonexistent',
  tokens: [],
  advertise: ['127.0.0.1'],
  advertisePort: 6443,
};

const urlOf = (server: RunningApiServer): string => `http://127.0.0.1:${server.ports[0]}`;

test('a restarted server has the same objects with the same versions; a watch from before is told to list again', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'ciliate-apiserver-'));
  const servers: RunningApiServer[] = [];
  const start = async (): Promise<string> => {
    const server = await startApiServer({ ...options, dataDir });
    servers.push(server);
    return urlOf(server);
  };
  const services = async (url: string): Promise<unknown> => (await fetch(`${url}/api/v1/services`)).json();
  try {
    let url = await start();
    const body = { metadata: { name: 'a' }, spec: { type: 'NodePort', ports: [{ port: 80 }] } };
    const answer = await fetch(`${url}/api/v1/namespaces/default/services`, {
      method: 'POST',
      body: JSON.stringify(body),
    });
    assert.equal(answer.status, 201);
    const before = await services(url);
    servers.pop()?.close();
    url = await start();
    const after = await services(url);
    assert.deepEqual(at(after, 'items'), at(before, 'items'));
    const version = textAt(before, 'metadata', 'resourceVersion');
    const watch = await fetch(`${url}/api/v1/services?watch=1&resourceVersion=${version}`);
    assert.equal(watch.status, 410);
    assert.equal(textAt(await watch.json(), 'reason'), 'Expired');
  } finally {
    for (const server of servers) server.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
});

test('without a token of the list nobody gets in, but health answers', async () => {
  const server = await startApiServer({ ...options, tokens: ['secret'] });
  try {
    const url = urlOf(server);
    assert.equal((await fetch(`${url}/api/v1/pods`)).status, 401);
    assert.equal((await fetch(`${url}/api/v1/pods`, { headers: { authorization: 'Bearer wrong' } })).status, 401);
    assert.equal((await fetch(`${url}/api/v1/pods`, { headers: { authorization: 'Bearer secret' } })).status, 200);
    assert.equal((await fetch(`${url}/readyz`)).status, 200);
  } finally {
    server.close();
  }
});

test('pod CIDRs inside the service CIDRs are refused before anything listens', async () => {
  await assert.rejects(
    startApiServer({ ...options, podCidrs: ['10.96.128.0/20'] }),
    /--pod-cidrs 10\.96\.128\.0\/20 overlaps --service-cidrs 10\.96\.0\.0\/16/,
  );
});

test('a watch sends what changes, in tables too, and what leaves the selection is deleted', async () => {
  const server = await startApiServer(options);
  try {
    const url = `${urlOf(server)}/api/v1/namespaces/default/configmaps`;
    const stop = new AbortController();
    const watch = await fetch(`${url}?watch=true&labelSelector=app%3Dx&resourceVersion=${server.store.version}`, {
      signal: stop.signal,
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    });
    const send = (method: string, path: string, body: object): Promise<Response> =>
      fetch(`${url}${path}`, {
        method,
        body: JSON.stringify(body),
        headers: { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' },
      });
    await send('POST', '', { metadata: { name: 'a', labels: { app: 'x' } }, data: { k: 'v' } });
    await send('PATCH', '/a', { data: { k: 'w' } });
    await send('PATCH', '/a', { metadata: { labels: { app: 'y' } } });
    const seen: string[] = [];
    let text = '';
    for await (const chunk of watch.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += chunk;
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const event of lines.map(line => JSON.parse(line) as unknown))
        seen.push(
          `${textAt(event, 'type')} ${textAt(event, 'object', 'kind')} ${textAt(event, 'object', 'rows', 0, 'cells', 0)}`,
        );
      if (seen.length >= 3) break;
    }
    stop.abort();
    assert.deepEqual(seen, ['ADDED Table a', 'MODIFIED Table a', 'DELETED Table a']);
  } finally {
    server.close();
  }
});
