export type * from './address.ts';
export type * from './labels.ts';
export type * from './rows.ts';
