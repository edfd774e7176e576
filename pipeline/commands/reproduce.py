r"""Train the papers' tables on given shard sets, or small on rendered clips; or test five claims on rendered clips.

    video-actions reproduce
    video-actions reproduce --claims transfer,start --seeds 0,1,2 --storage /data/study
    video-actions reproduce --experiment t3d_table4 --shards /data/ucf101/shards/ucf101_split1 --seeds 0
    video-actions reproduce --experiment resnets_fine_tuned --rows ResNet-18,ResNet-34 --source /data/kinetics \
        --shards /data/ucf101/shards/ucf101_split1,/data/hmdb51/shards/hmdb51_split1
    video-actions reproduce --scale tiny --storage /tmp/tiny          # does everything run? nothing is learned

Experiments: claims (two_stream, temporal, start, transfer, supervision); quo_vadis_table2, 3, 4; t3d_table2, 3, 4, 5,
6, 8, 10; resnets_scratch, resnets_table2, resnets_fine_tuned. One seed of the claims takes about half an hour on two
cores; the report is written at the end. If an experiment is interrupted or killed, the same command continues it.
Trainings that several experiments share are run once, and trainings that are done are not run again.
"""

from collections.abc import Sequence

from pipeline.command_line import one_line_errors, parse
from pipeline.commands.pages import pages
from pipeline.config import ModelConfig
from pipeline.experiments.settings import StudyConfig, training_config
from pipeline.next_command import next_steps, spoken
from pipeline.submission import resolve


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, run the trainings that are not done, and print the table or the verdicts."""
    with one_line_errors():
        study = resolve(parse(StudyConfig, {"study": StudyConfig}, argv, spoken(__doc__)))
        from pipeline.cluster import connect
        from pipeline.experiments.claims import chosen
        from pipeline.experiments.papers import table_of
        from pipeline.experiments.reproduction import run_study
        from pipeline.experiments.summary import studied

        table_of(study)
        chosen(study)
        connect(training_config(study, "motions", ModelConfig()), trials=study.concurrent)
        result = run_study(study)
        print(studied(result))
        print(next_steps(*pages(result.run)))
