export * from './decode.ts';
export * from './packet.ts';
