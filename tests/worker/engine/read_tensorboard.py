"""What the tensorboard package reads of a folder of event files, as JSON: scalars by tag, files with their number of events, and of the
HParams plug-in the last start and the end of the session.

    python3 read_tensorboard.py FOLDER
"""

import glob
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import plugin_data_pb2

folder = sys.argv[1]
accumulator = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=True)
accumulator.Reload()
told = {"scalars": {}, "files": [], "hparams": {}, "group": "", "end": None}
for tag in accumulator.Tags()["scalars"]:
    told["scalars"][tag] = [[event.step, event.value] for event in accumulator.Scalars(tag)]
for path in sorted(glob.glob(f"{folder}/*tfevents*")):
    told["files"].append(len(list(EventFileLoader(path).Load())))
for tag in accumulator.PluginTagToContent("hparams") if "hparams" in accumulator.Tags().get("plugins", ["hparams"]) else []:
    data = plugin_data_pb2.HParamsPluginData.FromString(accumulator.PluginTagToContent("hparams")[tag])
    if data.HasField("session_start_info"):
        told["group"] = data.session_start_info.group_name
        for key, value in data.session_start_info.hparams.items():
            told["hparams"][key] = getattr(value, value.WhichOneof("kind"))
    if data.HasField("session_end_info"):
        told["end"] = data.session_end_info.status
print(json.dumps(told))
