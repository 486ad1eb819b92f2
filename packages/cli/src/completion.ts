/** Shell completion generated from the command tree, so that it never lags behind it. */
import type { Command } from 'commander';
import { CliError } from './errors.ts';

interface Node {
  /** Words before, separated by blanks; '' at the root. */
  readonly path: string;
  readonly words: readonly string[];
}

function nodesOf(command: Command, path = ''): readonly Node[] {
  const options = command.options.flatMap(option => (option.long === undefined ? [] : [option.long]));
  const words = [...command.commands.map(child => child.name()), ...options, '--help'];
  const children = command.commands.flatMap(child => nodesOf(child, `${path} ${child.name()}`.trim()));
  return [{ path, words }, ...children];
}

function bash(nodes: readonly Node[]): string {
  const cases = nodes.map(node => `    '${node.path}') words='${node.words.join(' ')}' ;;`).join('\n');
  return `# bash completion for ciliate: source <(ciliate completion bash)
_ciliate() {
  local path='' word words='' index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    case "$word" in
      --node|--socket-path|--output|-o) ((index++)) ;;
      -*) ;;
      *) path="\${path:+$path }$word" ;;
    esac
  done
  case "$path" in
${cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _ciliate ciliate ./ciliate
`;
}

function zsh(nodes: readonly Node[]): string {
  return `#compdef ciliate\nautoload -U +X bashcompinit && bashcompinit\n${bash(nodes)}`;
}

function fish(nodes: readonly Node[]): string {
  const lines = nodes.map(
    node => `    case '${node.path}'\n      string join \\n ${node.words.map(word => `'${word}'`).join(' ')}`,
  );
  return `# fish completion for ciliate: ciliate completion fish | source
function __ciliate_words
  set -l path (string match -v -- '-*' (commandline -opc)[2..-1])
  switch (string join ' ' -- $path)
${lines.join('\n')}
  end
end
complete -c ciliate -f -a '(__ciliate_words)'
`;
}

/** Throws CliError USAGE for a shell that is not known. */
export function completionScript(shell: string, program: Command): string {
  const nodes = nodesOf(program);
  if (shell === 'bash') return bash(nodes);
  if (shell === 'zsh') return zsh(nodes);
  if (shell === 'fish') return fish(nodes);
  throw new CliError({ code: 'USAGE', exitCode: 2 }, `completion: no script for '${shell}': one of bash, zsh, fish`);
}
