"""What MLflow's own client reads of an experiment, as JSON: each run with its parameters, tags, status and the points of its metrics.

    python3 read_mlflow.py ADDRESS EXPERIMENT
"""

import json
import sys

from mlflow import MlflowClient

client = MlflowClient(tracking_uri=sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2])
told = []
for run in client.search_runs([experiment.experiment_id]) if experiment else []:
    points = {name: [[point.step, point.value, point.timestamp] for point in client.get_metric_history(run.info.run_id, name)]
              for name in run.data.metrics}
    told.append({"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status, "start": run.info.start_time,
                 "end": run.info.end_time, "params": run.data.params, "tags": run.data.tags, "metrics": points})
print(json.dumps(told))
