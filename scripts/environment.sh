# Sourced by the other scripts. Makes .venv and installs the project into it, once. To use another folder, set venv
# after sourcing this file.
#
#   install EXTRAS    e.g. install dev, install train,synth
#
# PYTHON       interpreter to make the environment with (python3)
# constraints  file of the versions to install (constraints.txt)
# A second call does nothing if nothing has changed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
venv=$root/.venv
constraints=$root/constraints.txt

install() {
  local extra=$1 python=${PYTHON:-python3} stamp wanted
  if [[ ! -x $venv/bin/python ]]; then
    echo "making the environment ${venv##*/} with $("$python" --version)"
    "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2])' ||
      { echo "earmark needs Python 3.10 or later; name one with PYTHON=/path/to/python3" >&2; exit 2; }
    "$python" -m venv "$venv" ||
      { rm -rf "$venv"; echo "no virtual environment: on Debian or Ubuntu, apt install python3-venv" >&2; exit 2; }
  fi
  stamp=$venv/.installed-$extra
  wanted=$(cat pyproject.toml "$constraints" | sha256sum; "$venv/bin/python" --version)
  if [[ -f $stamp && $(cat "$stamp") == "$wanted" ]]; then return; fi
  echo "installing earmark[$extra] and what it needs (a few minutes the first time)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$constraints" --editable ".[$extra]"
  printf '%s\n' "$wanted" > "$stamp"
}
