"""``se_det TOOL``, or ``python -m se_det TOOL``: ``main`` of the script in ``tools/``."""

import ast
import difflib
import importlib
import sys
from pathlib import Path

TOOLS = Path(__file__).with_name('tools')


def main() -> None:
    """Run a tool; without its name, list all of them."""
    scripts = {script.stem: script for script in sorted(TOOLS.glob('[!_]*.py'))}
    name, *arguments = sys.argv[1:] or ['--help']
    if name in ('-h', '--help'):
        print('usage: se_det TOOL ...\n\nTOOL is one of these; add --help for its usage:')
        for tool, script in scripts.items():
            summary = ast.get_docstring(ast.parse(script.read_text())).partition(':')[0]
            print(f'  {tool:<22}{summary}')
    elif name in scripts:
        sys.argv = [f'se_det {name}', *arguments]
        sys.path.insert(0, str(TOOLS))
        importlib.import_module(name).main()
    else:
        near = difflib.get_close_matches(name, scripts, 3)
        hint = f' Did you mean {" or ".join(near)}?' if near else ''
        print(f'No tool {name}.{hint} To list all, type: se_det', file=sys.stderr)
        sys.exit(2)


if __name__ == '__main__':
    main()
