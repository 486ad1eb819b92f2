/** ciliate-operator: one per cluster. */
import { runOperator } from '../operator/main.ts';
import { operatorOptions } from '../options/operator-options.ts';
import { runBin } from './run.ts';

await runBin('ciliate-operator', operatorOptions, runOperator);
