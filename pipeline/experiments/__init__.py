"""Experiments: sweeps over any fields, and the papers' comparisons, as named lists of trials that Ray Tune executes.

trial         a config, a key of what decides its result, a stored outcome
perform       what one trial does
queue         which trial is next, and how each ended
run           one experiment: lock, parent run, Ray Tune
asha          early stopping
space         axes, and the fields that follow from them
samplers      Optuna
sweep         a whole sweep: check, train, test the best, tables and figures
plan          what a sweep would cost
results       its table; charts: its figures
looping       windows that are longer than the clips
papers        the papers' tables: rows, columns, recipes, verified figures
papers_cells  their cells: the trainings on given sets, or small on rendered ones
papers_report paper and measured side by side; papers_figures: who overfits
claims        five claims of the papers; verdicts, claims_report, claims_figures: what came out
settings      rendered data sets, and the base config of small trainings
frames        a 2D network trained on single frames, in place of one from ImageNet
reproduction  an experiment of the papers, from data to report
summary       what is printed at the end
"""
