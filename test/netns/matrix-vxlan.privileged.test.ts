import { matrix } from './matrix.ts';

matrix('vxlan');
