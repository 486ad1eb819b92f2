/** Lists of a resource, and watches of them. */
import { type Call, partial, send, shape, type Target, versioned, wantsPartial, wantsTable } from './call.ts';
import type { KubeObject } from './object.ts';
import { apiVersionOf, type Resource } from './registry.ts';
import { selectorOf } from './selector.ts';
import type { Store, StoreEvent } from './store.ts';

/** Answers with the objects that the selectors let pass, a page of them where `limit` asks for one. */
export function list(store: Store, call: Call, { resource, namespace }: Target): undefined {
  const { searchParams } = call.url;
  const selected = selectorOf(searchParams.get('labelSelector'), searchParams.get('fieldSelector'));
  const all = store
    .list(resource, namespace)
    .filter(selected)
    .map(object => versioned(resource, object));
  const sorted = all.toSorted((a, b) =>
    `${a.metadata.namespace ?? ''}/${a.metadata.name}`.localeCompare(
      `${b.metadata.namespace ?? ''}/${b.metadata.name}`,
    ),
  );
  const limit = Number(searchParams.get('limit') ?? 0);
  const from = Number(searchParams.get('continue') ?? 0);
  const items = limit > 0 ? sorted.slice(from, from + limit) : sorted.slice(from);
  const more =
    from + items.length < sorted.length
      ? { continue: String(from + items.length), remainingItemCount: sorted.length - from - items.length }
      : {};
  const version = String(store.version);
  if (wantsTable(call.request)) {
    const table = shape(call, resource, items, version) as { readonly metadata: object };
    return send(call.response, 200, { ...table, metadata: { ...table.metadata, ...more } });
  }
  const shown = wantsPartial(call.request) ? items.map(partial) : items;
  const kind = wantsPartial(call.request) ? 'PartialObjectMetadataList' : `${resource.kind}List`;
  send(call.response, 200, {
    kind,
    apiVersion: wantsPartial(call.request) ? 'meta.k8s.io/v1' : apiVersionOf(resource),
    metadata: { resourceVersion: version, ...more },
    items: shown,
  });
}

/** Answers with what happens to objects, one JSON document a line, until the client or `timeoutSeconds` ends it. */
export function watch(store: Store, call: Call, { resource, namespace, name }: Target): undefined {
  const { searchParams } = call.url;
  const selected = selectorOf(searchParams.get('labelSelector'), searchParams.get('fieldSelector'));
  const inScope = (object: KubeObject): boolean =>
    (namespace === undefined || object.metadata.namespace === namespace) &&
    (name === undefined || object.metadata.name === name) &&
    selected(object);
  const table = wantsTable(call.request);
  const write = (type: string, object: object): void => {
    call.response.write(`${JSON.stringify({ type, object })}\n`);
  };
  const emit = (type: string, object: KubeObject): void => {
    const shown = versioned(resource, object);
    write(
      type,
      table
        ? shape(call, resource, [shown], shown.metadata.resourceVersion ?? '')
        : wantsPartial(call.request)
          ? partial(shown)
          : shown,
    );
  };
  const onEvent = (event: StoreEvent): void => {
    const now = event.type !== 'DELETED' && inScope(event.object);
    const before = event.before !== undefined && inScope(event.before);
    if (now) emit(before ? 'MODIFIED' : 'ADDED', event.object);
    else if (before) emit('DELETED', event.object);
  };
  const from = searchParams.get('resourceVersion') ?? '';
  const start = from === '' || from === '0' ? store.version : Number(from);
  const stop = store.watch(resource, start, event => {
    if (!call.response.headersSent) call.response.writeHead(200, { 'content-type': 'application/json' });
    onEvent(event);
  });
  if (!call.response.headersSent) call.response.writeHead(200, { 'content-type': 'application/json' });
  call.response.flushHeaders();
  if (from === '' || from === '0' || searchParams.get('sendInitialEvents') === 'true') {
    for (const object of store.list(resource, namespace).filter(inScope)) emit('ADDED', object);
    if (searchParams.get('sendInitialEvents') === 'true')
      write('BOOKMARK', bookmark(store, resource, { 'k8s.io/initial-events-end': 'true' }));
  }
  keepWatch(store, call, resource, write, stop);
}

function bookmark(store: Store, resource: Resource, annotations: Readonly<Record<string, string>> = {}): object {
  return {
    kind: resource.kind,
    apiVersion: apiVersionOf(resource),
    metadata: { resourceVersion: String(store.version), annotations },
  };
}

function keepWatch(
  store: Store,
  call: Call,
  resource: Resource,
  write: (type: string, object: object) => void,
  stop: () => void,
): undefined {
  const bookmarks = call.url.searchParams.get('allowWatchBookmarks') === 'true' && !wantsTable(call.request);
  const ticker = bookmarks ? setInterval(() => write('BOOKMARK', bookmark(store, resource)), 30_000) : undefined;
  const seconds = Number(call.url.searchParams.get('timeoutSeconds') ?? 0) || 1800;
  const end = setTimeout(() => call.response.end(), seconds * 1000);
  call.response.on('close', () => {
    stop();
    clearInterval(ticker);
    clearTimeout(end);
  });
}
