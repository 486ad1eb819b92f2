export * from './codec.ts';
export * from './gen/enums.ts';
export * from './gen/maps.ts';
export * from './gen/structs.ts';
export * from './primitive.ts';
