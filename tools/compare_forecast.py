#!/usr/bin/env python3
"""The forecast of `cloze inspect` beside what a run really took: peak memory (VmHWM), seconds a step, whole time.

    tools/compare_forecast.py build/cloze MODEL DATA_DIR [TRAINING FLAGS ...]

Writes the run into a temporary directory. Nothing else should run on the machine meanwhile.
"""
import json
import os
import subprocess
import sys
import tempfile


def run(command):
    """Standard output, and the most memory the process held, in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: exit status {status >> 8}")
    return out, usage.ru_maxrss * 1024


def main(cloze, model, data, *flags):
    flags = ["--data_dir", data, "--save_strategy", "no", "--disable_tqdm", *flags]
    forecast = json.loads(run([cloze, "inspect", "--model", model, "--json", *flags])[0])
    with tempfile.TemporaryDirectory() as out:
        result, memory = run([cloze, "train", "--model_name_or_path", model, "--output_dir", out, "--json", *flags])
    result = json.loads(result)
    seconds = result["train_runtime"] / result["train_steps"]
    rows = [("peak memory, GB", forecast["memory"]["peak"] / 1e9, memory / 1e9),
            ("seconds a step", forecast["seconds_per_step"], seconds),
            ("seconds in all", forecast["seconds"], result["train_runtime"] + result.get("eval_runtime", 0))]
    for name, told, real in rows:
        print(f"{name:16} forecast {told:8.3f}   real {real:8.3f}   {100 * (told / real - 1):+.0f} %")


if __name__ == "__main__":
    main(*sys.argv[1:])
