using Berth.Cli.CommandLine;
using Berth.Cli.Commands;
using Berth.Cli.Plugins;

namespace Berth.Cli.Completion;

/// <summary>berth completion SHELL prints a script; what it shows comes from berth __complete.</summary>
internal static class CompletionCommands
{
    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["completion"],
            Usage = "bash|zsh|fish",
            Summary = "Print a script that lets a shell complete commands, flags and names",
            Description =
                """
                Print a script that lets a shell complete commands, flags and names

                  bash:  source <(berth completion bash)
                  zsh:   berth completion zsh > "${fpath[1]}/_berth"
                  fish:  berth completion fish > ~/.config/fish/completions/berth.fish
                """,
            MinArguments = 1,
            MaxArguments = 1,
            Run = Script,
        },
        new() { Paths = ["__complete"], Usage = "[WORD...]", Summary = "Print what may stand in place of the last word", Hidden = true, ForAnother = true, Run = CompleteAsync },
    ];

    private static Task<int> Script(Invocation invocation)
    {
        var shell = invocation.Arguments.Positional[0];
        var script = shell switch
        {
            "bash" => Bash,
            "zsh" => Zsh,
            "fish" => Fish,
            _ => throw new CommandException($"{GoText.Quote(shell)} is not known: bash, zsh and fish are"),
        };
        invocation.Context.Out.Write(script.Replace("PROGRAM", invocation.Context.ProgramName) + "\n");
        return Task.FromResult(0);
    }

    private static async Task<int> CompleteAsync(Invocation invocation)
    {
        // A plugin knows its own words.
        var words = invocation.Arguments.Positional;
        if (words.Count > 1 && CommandTable.Find(words[0]) is null && CommandTable.Group(words[0]) is null && new PluginStore(invocation.Context) is var plugins && plugins.Find(words[0]) is { } plugin)
            return await plugins.RunAsync(plugin, ["__complete", .. words]);
        var answer = await new Completer(invocation.Context).AnswerAsync(invocation.Arguments.Positional, Application.GlobalFlags);
        foreach (var (word, summary) in answer.Candidates) invocation.Context.Out.Write(summary.Length > 0 ? $"{word}\t{summary.Split('\n')[0]}\n" : word + "\n");
        invocation.Context.Out.Write($":{answer.Directive}\n");
        return 0;
    }

    // A colon divides words for bash's line editor (image:tag): what stands before it is taken off the candidates.
    private const string Bash =
        """
        # bash completion for PROGRAM
        __PROGRAM_complete() {
            local cur words cword out line directive
            if declare -F _get_comp_words_by_ref >/dev/null; then
                _get_comp_words_by_ref -n =: cur words cword
            else
                words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]}
            fi
            out=$("${words[0]}" __complete "${words[@]:1:cword-1}" "$cur" 2>/dev/null) || return
            directive=${out##*:}
            COMPREPLY=()
            while IFS= read -r line; do
                [[ $line == :* ]] && continue
                COMPREPLY+=("${line%%$'\t'*}")
            done <<< "$out"
            if [[ $directive == 0 && ${#COMPREPLY[@]} -eq 0 ]]; then
                compopt -o default -o filenames 2>/dev/null
                return
            fi
            [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]] && compopt -o nospace 2>/dev/null
            declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
        }
        complete -F __PROGRAM_complete PROGRAM
        """;

    private const string Zsh =
        """
        #compdef PROGRAM
        # zsh completion for PROGRAM
        _PROGRAM() {
            local out line directive
            local -a candidates
            out=$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null) || return
            for line in "${(@f)out}"; do
                case $line in
                    :*) directive=${line#:} ;;
                    *) local word=${line%%$'\t'*}
                       word=${word//:/\\:}
                       if [[ $line == *$'\t'* ]]; then candidates+=("$word:${line#*$'\t'}"); else candidates+=("$word"); fi ;;
                esac
            done
            if (( ${#candidates} )); then _describe -V 'completions' candidates; elif [[ $directive == 0 ]]; then _files; fi
        }
        compdef _PROGRAM PROGRAM
        """;

    private const string Fish =
        """
        # fish completion for PROGRAM
        function __PROGRAM_complete
            set -l words (commandline -opc) (commandline -ct)
            set -l out ($words[1] __complete $words[2..-1] 2>/dev/null)
            set -l candidates (string match -v -r '^:' -- $out)
            if test (count $candidates) -eq 0; and test "$out[-1]" = ":0"
                __fish_complete_path (commandline -ct)
                return
            end
            printf '%s\n' $candidates
        end
        complete -c PROGRAM -f -a '(__PROGRAM_complete)'
        """;
}
