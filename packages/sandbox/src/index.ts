export { sandboxDown, sandboxExec, sandboxKubeconfig, sandboxLogs, sandboxStatus } from './commands.ts';
export * from './errors.ts';
export type * from './options.ts';
export { sandboxUp } from './up.ts';
