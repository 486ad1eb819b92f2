export * from './ciliate.ts';
export * from './cni.ts';
export * from './endpoint.ts';
export * from './health.ts';
export * from './policy.ts';
export * from './rest-paths.ts';
export * from './service.ts';
export * from './status.ts';
