import { matrix } from './matrix.ts';

matrix('native');
