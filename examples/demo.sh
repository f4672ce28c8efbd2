#!/usr/bin/env bash
# The main job, through the command: run a workflow once, then run it again in other forms by its id alone.
# Needs cas-run on the PATH (`make demo` sees to that). Its store is .demo/, made anew each time; look into it afterwards.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rm -rf .demo
mkdir .demo
export CAS_RUN_STORE=$PWD/.demo/store

bold='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi

say() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }

show() {
    printf '%s$ %s%s\n' "$dim" "$*" "$plain"
    "$@"
}

id_of_last() { cas-run list -q -n 1 | cut -c 1-12; }

say '1. A workflow, for the first time: everything runs.'
show cas-run run examples/svm.py:svm -p C=1.0 -p gamma=0.7
id=$(id_of_last)

say '2. The same again, by its id: nothing runs.'
show cas-run redispatch "$id"

say '3. What would run with another C and gamma, and why? (Runs nothing.)'
show cas-run plan "$id" -p C=1.5 -p gamma=0.8

say '4. New inputs: the data steps are reused.'
show cas-run redispatch "$id" -p C=1.5 -p gamma=0.8

say '5. Another measure: only the measure runs.'
show cas-run redispatch "$id" --replace compute_accuracy=examples/metrics.py:compute_recall

say '6. Another model, a random forest for the SVM: the data steps are reused.'
show cas-run redispatch "$id" --replace train=examples/models.py:train_forest

say '7. Another sample: the stochastic electron is made to run.'
show cas-run redispatch "$id" --recompute stochastic

say '8. The id is enough: from a script that has since been deleted, with an input never seen before.'
cp examples/svm.py .demo/gone.py
show cas-run run .demo/gone.py:svm -p C=1.0 -p gamma=0.7
id=$(id_of_last)
show rm .demo/gone.py
show cas-run redispatch "$id" -p C=4.0

say 'All of them, kept:'
show cas-run list
