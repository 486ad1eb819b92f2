/** `sandbox up|down|status|exec|logs|kubeconfig` without the CLI's libraries. */
import { parseArgs } from 'node:util';
import { sandboxDown, sandboxExec, sandboxKubeconfig, sandboxLogs, sandboxStatus, sandboxUp } from '../index.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: 'string', default: process.env.CILIATE_SANDBOX ?? 'sandbox' },
    nodes: { type: 'string', default: '2' },
    routing: { type: 'string', default: 'vxlan' },
    ipam: { type: 'string', default: 'kubernetes' },
    kubeconfig: { type: 'string' },
    detach: { type: 'boolean', default: false },
    'no-agent': { type: 'boolean', default: false },
    follow: { type: 'boolean', short: 'f', default: false },
  },
});
// `… | head`: nobody reads on.
process.stdout.on('error', () => process.exit(0));
const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

function up(): Promise<number> {
  return sandboxUp(
    {
      name: values.name,
      nodes: Number(values.nodes),
      routing: values.routing === 'native' ? 'native' : 'vxlan',
      ipam: values.ipam === 'cluster-pool' ? 'cluster-pool' : 'kubernetes',
      detach: values.detach,
      noAgent: values['no-agent'],
      ...(values.kubeconfig === undefined ? {} : { kubeconfig: values.kubeconfig }),
    },
    print,
  );
}

async function main(): Promise<number> {
  const [command, target, ...rest] = positionals;
  if (command === 'up') return up();
  if (command === 'down') return sandboxDown(values, print);
  if (command === 'status') return sandboxStatus(values, print);
  if (command === 'exec') return sandboxExec(values, target ?? '', rest);
  if (command === 'logs') return sandboxLogs(values, target, text => process.stdout.write(text));
  if (command === 'kubeconfig') print(sandboxKubeconfig(values));
  else process.stderr.write('usage: sandbox up|down|status|exec|logs|kubeconfig\n');
  return command === 'kubeconfig' ? 0 : 2;
}

process.exitCode = await main();
