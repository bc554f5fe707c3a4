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

                With 'alias docker=berth', bash also wants: complete -F __berth_complete docker
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
        invocation.Context.Out.Write(script.Replace("PROGRAM", invocation.Context.ProgramName, StringComparison.Ordinal) + "\n");
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

    // For bash's line editor a colon and an equals sign divide words (image:tag): they are put together here, and what stands
    // before the last of them is taken off the candidates.
    private const string Bash =
        """
        # bash completion for PROGRAM
        __PROGRAM_complete() {
            local words=() cword=-1 rest=${COMP_LINE:0:COMP_POINT} program cur i line directive=4
            for ((i = 0; i <= COMP_CWORD; i++)); do
                if [[ $i == 0 || $rest == [[:space:]]* ]]; then
                    rest=${rest#"${rest%%[![:space:]]*}"}
                    words[++cword]=
                fi
                words[cword]+=${COMP_WORDS[i]}
                rest=${rest#"${COMP_WORDS[i]}"}
            done
            cur=${words[cword]}
            program=${words[0]/#\~\//$HOME/}
            [[ $program == */* ]] || program=PROGRAM
            COMPREPLY=()
            while IFS= read -r line; do
                if [[ $line == :* ]]; then directive=${line#:}; else COMPREPLY+=("${line%%$'\t'*}"); fi
            done < <("$program" __complete "${words[@]:1:cword-1}" "$cur" 2>/dev/null)
            if ((${#COMPREPLY[@]} == 0)); then
                ((directive & 4)) || compopt -o default -o filenames 2>/dev/null
                return
            fi
            ((directive & 2)) && compopt -o nospace 2>/dev/null
            if [[ $cur == *[:=]* ]]; then
                rest=${cur##*["$COMP_WORDBREAKS"]}
                COMPREPLY=("${COMPREPLY[@]#"${cur%"$rest"}"}")
            fi
        }
        complete -F __PROGRAM_complete PROGRAM
        """;

    // Loaded from fpath, the file is the function's first call; sourced, it only defines it.
    private const string Zsh =
        """
        #compdef PROGRAM
        # zsh completion for PROGRAM
        _PROGRAM() {
            local line word program=${(Q)words[1]/#\~\//$HOME/} directive=4
            local -a candidates options
            [[ $program == */* ]] || program=PROGRAM
            for line in "${(@f)$("$program" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
                case $line in
                    :*) directive=${line#:} ;;
                    '') ;;
                    *) word=${${line%%$'\t'*}//:/\\:}
                       if [[ $line == *$'\t'* ]]; then candidates+=("$word:${line#*$'\t'}"); else candidates+=("$word"); fi ;;
                esac
            done
            (( directive & 2 )) && options=(-S '')
            if (( ${#candidates} )); then
                _describe -t completions completions candidates "${options[@]}"
            elif (( ! (directive & 4) )); then
                _files
            fi
        }
        if [[ ${funcstack[1]} == _PROGRAM ]]; then _PROGRAM "$@"; else compdef _PROGRAM PROGRAM; fi
        """;

    private const string Fish =
        """
        # fish completion for PROGRAM
        function __PROGRAM_complete
            set -l words (commandline -opc) (commandline -ct)
            set -l program PROGRAM
            string match -q '*/*' -- $words[1]; and set program (string replace -r '^~/' "$HOME/" -- $words[1])
            set -l out ($program __complete $words[2..-1] 2>/dev/null)
            set -l candidates (string match -v -r '^:' -- $out)
            if test (count $candidates) -gt 0
                printf '%s\n' $candidates
            else if test (count $out) -gt 0; and test "$out[-1]" = ':0'
                __fish_complete_path (commandline -ct)
            end
        end
        complete -c PROGRAM -f -a '(__PROGRAM_complete)'
        """;
}
