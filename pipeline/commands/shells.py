"""The completion script of each shell, which holds all commands, options and values of `video-actions`."""

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from pipeline.commands.options import Command, Option
from pipeline.next_command import PROGRAM


def bash(known: Sequence[Command]) -> str:
    """Return the script for bash 4.4 and later, which splits words at `=`."""
    return f"""# What bash completes of {PROGRAM}: printed by {PROGRAM} completion bash.
_video_actions() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} verb=${{COMP_WORDS[1]}}
    local options= first= values= many= files= flag= option rest last=
    if [[ $word == = ]]; then word=; elif [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W {_quoted([*(one.verb for one in known), "help", "--help", "--version"])} -- "$word"))
        return
    fi
    case $verb in
{_cases(known, lambda one: _quoted(option.name for option in one.options))}
    esac
    case $verb:$before in
{_value_cases(known)}
    esac
    if [[ -n $values ]]; then
        if [[ -n $many && $word == *,* ]]; then values="${{values// / ${{word%,*}},}}" values="${{word%,*}},$values"; fi
        COMPREPLY=($(compgen -W "$values" -- "$word"))
    elif [[ -n $files ]]; then
        compopt -o default
    elif [[ $before == --* && -z $flag && $word != -* ]]; then
        :
    elif [[ -n $first && $word != -* ]]; then
        if [[ $first == files ]]; then compopt -o default; else COMPREPLY=($(compgen -W "$first" -- "$word")); fi
    else
        for option in $options; do # up to the next dot
            if [[ $option == "$word"* ]]; then
                rest=${{option#"$word"}}
                if [[ $rest == *.* ]]; then option=$word${{rest%%.*}}.; compopt -o nospace; fi
                if [[ $option != "$last" ]]; then COMPREPLY+=("$option") last=$option; fi
            fi
        done
    fi
}}
complete -F _video_actions {PROGRAM}"""


def zsh(known: Sequence[Command]) -> str:
    """Return the script for zsh, which can be sourced or put into a folder of `$fpath`."""
    return f"""#compdef {PROGRAM}
# What zsh completes of {PROGRAM}: printed by {PROGRAM} completion zsh.
_video_actions() {{
    local verb=$words[2] before=$words[CURRENT-1] options= first= values= many= files= flag= option rest
    local -a verbs sections names
    if ((CURRENT == 2)); then
        verbs=({_quoted_each(f"{one.verb}:{one.says}" for one in known)})
        _describe command verbs
        return
    fi
    if [[ $PREFIX == --*=* ]]; then before=${{PREFIX%%=*}}; compset -P '*='; fi
    case $verb in
{_cases(known, lambda one: _quoted(option.name for option in one.options))}
    esac
    case $verb:$before in
{_value_cases(known)}
    esac
    if [[ -n $values ]]; then
        [[ -n $many ]] && compset -P '*,'
        compadd -- ${{=values}}
    elif [[ -n $files ]]; then
        _files
    elif [[ $before == --* && -z $flag && $PREFIX != -* ]]; then
        _message value
    elif [[ -n $first && $PREFIX != -* ]]; then
        if [[ $first == files ]]; then _files; else compadd -- ${{=first}}; fi
    else
        for option in ${{=options}}; do # up to the next dot
            if [[ $option == $PREFIX* ]]; then
                rest=${{option#$PREFIX}}
                if [[ $rest == *.* ]]; then sections+=($PREFIX${{rest%%.*}}.); else names+=($option); fi
            fi
        done
        compadd -- $names
        compadd -S '' -- ${{(u)sections}}
    fi
}}
if [[ $funcstack[1] == _{PROGRAM} ]]; then _video_actions; else compdef _video_actions {PROGRAM}; fi"""


def fish(known: Sequence[Command]) -> str:
    """Return the script for fish, which also shows a description of each option."""
    lines = [f"# What fish completes of {PROGRAM}: printed by {PROGRAM} completion fish.", f"complete -c {PROGRAM} -f"]
    at_first = f"complete -c {PROGRAM} -n __fish_use_subcommand"
    lines += [f"{at_first} -a {one.verb} -d {_fish(one.says)}" for one in known]
    lines += [f"{at_first} -l version -d 'Show the version'", f"{at_first} -l help -d 'List the commands'"]
    for one in known:
        if one.values:
            lines.append(f"complete -c {PROGRAM} -n {_seen([one])} -a {_fish(' '.join(one.values))}")
        elif one.files:
            lines.append(f"complete -c {PROGRAM} -n {_seen([one])} -F")
    for option, takers in _takers(known).items():
        takes = "" if option.flag else " -r -F" if option.files else " -x"
        values = f" -a {_fish(' '.join(option.values))}" if option.values else ""
        name = option.name.removeprefix("--")
        lines.append(f"complete -c {PROGRAM} -n {_seen(takers)} -l {name}{takes}{values} -d {_fish(option.says)}")
    return "\n".join(lines)


SCRIPTS: dict[str, Callable[[Sequence[Command]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def _cases(known: Sequence[Command], options_of: Callable[[Command], str]) -> str:
    """Return one case branch per command, with its options and its positional arguments."""
    lines = []
    for one in known:
        first = f" first={_quoted(one.values)}" if one.values else " first=files" if one.files else ""
        lines.append(f"        {one.verb}) options={options_of(one)}{first} ;;")
    return "\n".join(lines)


def _value_cases(known: Sequence[Command]) -> str:
    """Return case branches for the options that have known values, take paths, or take no value."""
    branches: defaultdict[str, list[str]] = defaultdict(list)
    for option, takers in _takers(known).items():
        if option.values or option.files or option.flag:
            sets = f"values={_quoted(option.values)}" if option.values else "files=yes" if option.files else "flag=yes"
            sets += " many=yes" if option.many else ""
            branches[sets] += [f"{one.verb}:{option.name}" for one in takers]
    return "\n".join(f"        {'|'.join(where)}) {sets} ;;" for sets, where in branches.items())


def _takers(known: Sequence[Command]) -> dict[Option, list[Command]]:
    """Return the commands that take each option."""
    takers: defaultdict[Option, list[Command]] = defaultdict(list)
    for one in known:
        for option in one.options:
            takers[option].append(one)
    return takers


def _quoted(words: Iterable[str]) -> str:
    return shlex.quote(" ".join(words))


def _quoted_each(words: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, words))


def _seen(takers: Sequence[Command]) -> str:
    return shlex.quote(f"__fish_seen_subcommand_from {' '.join(one.verb for one in takers)}")


def _fish(text: str) -> str:
    """Quote a text for fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
