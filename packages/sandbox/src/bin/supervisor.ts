/** Started by `sandbox up`, outlives it: `supervisor NAME`. */
import { layoutOf } from '../layout.ts';
import { readState } from '../state.ts';
import { processSpecs } from '../supervisor/process-spec.ts';
import { Supervisor } from '../supervisor/supervisor.ts';

const layout = layoutOf(process.argv[2] ?? 'sandbox');
const state = readState(layout);
if (state === undefined) {
  process.stderr.write(`no state in ${layout.directory}: the supervisor is started by 'ciliate sandbox up'\n`);
  process.exit(1);
}
/** Read anew for each start: an agent may be told other options by then. */
const specs = () => processSpecs(layout, readState(layout) ?? state);
const supervisor = new Supervisor(layout, specs);
process.on('SIGTERM', () => {
  supervisor.stop();
  process.exit(0);
});
process.on('SIGINT', () => undefined);
await supervisor.start(state.api);
// Children are watched through their exit events; this keeps the process when all of them wait for a restart.
setInterval(() => undefined, 60_000);
