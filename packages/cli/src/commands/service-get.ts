/** `ciliate service get NAME`: what a service is, where it goes, and why an endpoint gets nothing. */
import { restPaths, type Service, type ServiceEndpointReport, type ServiceExplanation } from '@ciliate/protocol';
import type { Context } from '../context.ts';
import { CliError } from '../errors.ts';
import type { Output } from '../output.ts';

export async function serviceGet({ agent, output }: Context, name: string): Promise<void> {
  const wanted = /^\d+$/.test(name) ? await nameOf(agent, name) : name;
  const explained = await agent.get<readonly ServiceExplanation[]>(restPaths.serviceExplanation(wanted));
  output.render(explained, () => {
    for (const [i, one] of explained.entries()) {
      if (i > 0) output.line('');
      print(one, output);
    }
  });
}

/** An ID of `service list`. */
async function nameOf(agent: Context['agent'], id: string): Promise<string> {
  const services = await agent.get<readonly Service[]>(restPaths.services);
  const found = services.find(({ spec }) => String(spec.id) === id);
  if (found === undefined)
    throw new CliError({ code: 'NOT_FOUND' }, `no frontend has the ID ${id}: 'ciliate service list' shows all`);
  return `${found.spec.flags.namespace}/${found.spec.flags.name}`;
}

function print(
  { namespace, name, type, settings, frontends, endpoints, problems }: ServiceExplanation,
  output: Output,
) {
  output.line(`${namespace}/${name}  ${[type, ...settings].join('; ')}`);
  for (const problem of problems) output.line(`  ${output.paint.bad(problem)}`);
  if (frontends.length > 0) {
    output.line('');
    output.table(
      ['ID', 'FRONTEND', 'TYPE', 'BACKENDS FOR PODS', 'FOR OUTSIDERS', 'STATE'],
      frontends.map(one => [
        one.id === 0 ? '-' : String(one.id),
        one.frontend,
        one.type,
        String(one.inside),
        String(one.outside),
        one.redirectedBy === '' ? one.error || one.state : `redirected by ${one.redirectedBy}`,
      ]),
    );
  }
  if (endpoints.length > 0) {
    output.line('');
    output.table(
      ['ENDPOINT', 'POD', 'NODE', 'NEW FLOWS', 'WHY NOT'],
      endpoints.map(one => [one.endpoint, one.pod || '-', one.node || '-', flowsOf(one), one.reasons.join('\n')]),
    );
  }
}

function flowsOf({ inside, outside, reasons }: ServiceEndpointReport): string {
  if (reasons.length === 0) return 'yes';
  if (inside === outside) return inside ? 'yes' : 'none';
  return inside ? 'of pods' : 'of outsiders';
}
