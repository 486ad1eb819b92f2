/** Options that the offline policy commands share, and the scene that they make. */
import {
  type EnforcementMode,
  type PolicyScene,
  type PortNumber,
  portsCalled,
  type SceneObjects,
  type Somebody,
  sceneDefaults,
  sceneFromObjects,
  somebodyNamed,
} from '@ciliate/control';
import { type Command, Option } from 'commander';
import { CliError } from '../errors.ts';
import type { Output } from '../output.ts';
import { problemText, readManifests } from './manifests.ts';

export interface SceneFlags {
  readonly filename?: readonly string[];
  readonly enforcement: EnforcementMode;
  readonly localhost: boolean;
}

export function addSceneOptions(command: Command): Command {
  return command
    .option('-f, --filename <path...>', 'manifests: files, folders, - for standard input')
    .addOption(
      new Option('--enforcement <mode>', 'whom policies isolate, as the agent has it (enable-policy)')
        .choices(['default', 'always', 'never'])
        .default('default'),
    )
    .option('--no-localhost', 'the node does not reach its pods of itself (allow-localhost: policy)');
}

export function readScene(flags: SceneFlags, files: readonly string[], output: Output): SceneObjects {
  const objects = readManifests(files);
  const made = sceneFromObjects(objects, {
    ...sceneDefaults,
    mode: flags.enforcement,
    allowLocalHost: flags.localhost,
    now: Date.now(),
  });
  for (const problem of made.problems) output.warn(problemText(problem));
  return made;
}

/** Throws CliError NOBODY. */
export function named(scene: PolicyScene, text: string): readonly Somebody[] {
  const found = somebodyNamed(scene, text);
  if (found.length > 0) return found;
  const names = scene.input.pods.map(pod => pod.name).slice(0, 8);
  const known = names.length === 0 ? 'the manifests have no pods or workloads' : `there are ${names.join(', ')} …`;
  throw new CliError(
    { code: 'NOBODY', exitCode: 2 },
    `nobody is called '${text}': ${known}; write namespace/name, namespace/label=value, an address, or world, host, remote-node`,
  );
}

/** A number, or what each who is called names so. Throws CliError USAGE when that is nobody. */
export function portsOf(
  { port: text, protocol }: { readonly port: string; readonly protocol: string },
  all: readonly Somebody[],
  to: Somebody,
): readonly PortNumber[] {
  if (all.some(one => portsCalled(text, one, protocol).length > 0)) return portsCalled(text, to, protocol);
  const message = `--port '${text}' is no port, and nobody who is called names one so: write 5432, 53/UDP, icmp/8 or http`;
  throw new CliError({ code: 'USAGE', exitCode: 2 }, message);
}
