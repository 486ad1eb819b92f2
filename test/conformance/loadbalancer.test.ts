/** Scripts of Cilium's load balancer control plane, run through our own: see loadbalancer/script.ts. */
import { describe } from 'node:test';
import { conformanceCase, conformanceData, missingData } from './data.ts';
import { runLoadBalancerScript, type ScriptCase } from './loadbalancer/script.ts';

const file = 'loadbalancer-scripts.json';
const data = conformanceData(file) as { readonly cases: Readonly<Record<string, ScriptCase>> } | undefined;

describe('load balancer scripts', () => {
  if (data === undefined) missingData(file);
  for (const [name, one] of Object.entries(data?.cases ?? {})) {
    conformanceCase('loadbalancer', name, () => runLoadBalancerScript(one));
  }
});
