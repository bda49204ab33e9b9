/*
 * TensorBoard event files: TFRecord framing (length, masked CRC32C of it, data, masked CRC32C of
 * them; all little-endian) around Event protobufs with one scalar each. tensorflow/core/lib/io/
 * record_writer.cc and core/util/event.proto describe both.
 */
#ifndef CLOZE_TRAIN_EVENTS_H
#define CLOZE_TRAIN_EVENTS_H

#include <stdint.h>
#include <stdio.h>

#include "train/options.h"

typedef struct events_file {
    FILE *stream;
} events_file; /* zeroed storage is closed */

/* Creates DIR/events.out.tfevents.<time>.<host>.<pid>, and the directory. */
cloze_status events_open(events_file *e, const char *dir, cloze_error *err);
/* As --report_to and --logging_dir ask: DIR is OUTPUT_DIR/runs, or nothing is opened. */
cloze_status events_open_run(events_file *e, const options *o, cloze_error *err);
/* A closed file takes it silently: events are a convenience, not a result. */
void events_scalar(events_file *e, const char *tag, int64_t step, double value);
void events_close(events_file *e);

#endif
