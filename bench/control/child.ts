/**
 * One size in a process of its own, so that its memory is its own: `node --expose-gc bench/control/child.ts services COUNT CHANGES`, or
 * `… policies IDENTITIES POLICIES`. Prints the result as JSON.
 */
import { measurePolicies } from './policies.ts';
import { measureServices } from './services.ts';

const [what, first = '', second = ''] = process.argv.slice(2);
const measure = what === 'policies' ? measurePolicies : measureServices;
process.stdout.write(`${JSON.stringify(await measure(Number(first), Number(second)))}\n`);
