/** GET /v1/ciliate/monitor: events as NDJSON until the client goes away. */
import { decodeEvent, eventTypeNumbers, type Holder } from '@ciliate/hubble';
import { hostPrefix, tryParseAddress } from '@ciliate/model';
import { type MonitorEvent, restPaths } from '@ciliate/protocol';
import type { AgentContext } from '../status/context.ts';
import { ruleLog, ruleText } from './policy-json.ts';
import { RestFailure, type Route } from './router.ts';

const types: readonly MonitorEvent['type'][] = ['drop', 'trace', 'policy-verdict', 'debug', 'trace-sock', 'lost'];

export function monitorRoute(context: AgentContext): Route {
  return {
    method: 'GET',
    path: restPaths.monitor,
    handle: ({ query }) => {
      const wanted = wantedTypes(query.get('type'));
      const related = query.get('related-to');
      const options = {
        bootTime: Date.now() - Number(process.hrtime.bigint() / 1_000_000n),
        hex: query.get('hex') === 'true',
        ruleText: (id: number) => ruleText(context.tables, id),
        ruleLog: (id: number) => ruleLog(context.tables, id),
        whoHas: (text: string) => holderOf(context, text),
      };
      const fits = (event: MonitorEvent): boolean =>
        (wanted === undefined || wanted.has(event.type)) && (related === null || String(event.endpointId) === related);
      return {
        contentType: 'application/x-ndjson',
        stream: (write, signal) =>
          new Promise<void>(resolve => {
            const writeEvent = (event: MonitorEvent): void => {
              write(`${JSON.stringify(event)}\n`);
            };
            const send = (event: MonitorEvent | undefined): void => {
              if (event !== undefined && fits(event)) writeEvent(event);
            };
            const unsubscribe = context.datapath.subscribe({
              ...(wanted === undefined ? {} : { types: eventTypeNumbers([...wanted]) }),
              record: bytes => send(decodeEvent(bytes, options)),
              // Told whatever was asked for: what is missing may have been of any type.
              lost: lost =>
                writeEvent({ type: 'lost', time: new Date().toISOString(), summary: `${lost} events lost`, lost }),
            });
            signal.addEventListener('abort', () => {
              unsubscribe();
              resolve();
            });
          }),
      };
    },
  };
}

function holderOf({ tables }: AgentContext, text: string): Holder | undefined {
  const address = tryParseAddress(text);
  if (address === undefined) return undefined;
  const [endpoint] = tables.endpoints.by('address', address);
  const identity = endpoint?.identity ?? tables.ipcacheRows.get(hostPrefix(address))?.value.identity;
  return identity === undefined ? undefined : { endpoint: endpoint?.id ?? 0, identity };
}

function wantedTypes(text: string | null): ReadonlySet<string> | undefined {
  if (text === null || text === '') return undefined;
  const names = text.split(',');
  const unknown = names.find(name => !types.some(type => type === name));
  if (unknown !== undefined) {
    throw new RestFailure(400, 'BAD_REQUEST', `event type '${unknown}' does not exist`, `use ${types.join(', ')}`);
  }
  return new Set(names);
}
