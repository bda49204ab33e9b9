/*
 * A session: the device, tape and batch storage of one thread that runs a classifier, and the
 * encoded examples of a data set in all views of a classifier.
 */
#ifndef CLOZE_TRAIN_SESSION_H
#define CLOZE_TRAIN_SESSION_H

#include "base/log.h"
#include "train/classifier.h"

#define SESSION_MAX_VIEWS 16

struct options; /* train/options.h */

typedef struct session {
    const backend *backend;
    backend_device *device;
    tape *tape;
    packed_batch batches[SESSION_MAX_VIEWS];
} session;

/* device: "cpu" or "ref"; n_threads 0 = one for each core. Zeroed storage is valid for
 * session_close. */
cloze_status session_open(session *s, const char *device, int n_threads, bool bf16,
                          cloze_error *err);
/* The same from --device, --num_threads and --bf16; measured when --profile or --profile_file is
 * given. */
cloze_status session_open_options(session *s, const struct options *o, cloze_error *err);
/* What was measured since: the table as log lines, the trace to --profile_file. Nothing when
 * profiling is off. */
cloze_status session_write_profile(const session *s, const struct options *o,
                                   const cloze_callbacks *callbacks, cloze_error *err);
void session_close(session *s);

/* A data set encoded for a classifier. */
typedef struct encoded_views {
    encoded_set sets[SESSION_MAX_VIEWS];
    int32_t n_views;
    int64_t n; /* examples */
} encoded_views;
cloze_status encoded_views_build(const classifier *c, const example *examples, int64_t n,
                                 encoded_views *out, cloze_error *err);
void encoded_views_deinit(encoded_views *v);
/* One line about texts that were cut, none when there were none. what: "data/dev.txt". */
void classifier_tell_cut(const classifier *c, const char *what, int64_t n_cut, int64_t n,
                         int64_t n_tokens);

/* Fills the session's batches with batch i of the plan and gives pointers to them. */
cloze_status session_fill(session *s, const encoded_views *v, const batch_plan *plan, int64_t i,
                          const packed_batch *views[SESSION_MAX_VIEWS], cloze_error *err);

/* Logits (n,C) of all examples, in their order, without gradients; batches by falling length.
 * Progress (may be NULL) counts examples on from where it stands; an interruption that its
 * callbacks report ends the call with ERR_INTERRUPTED. */
cloze_status session_predict(session *s, classifier *c, const encoded_views *v, int32_t batch_size,
                             float *logits, progress *p, cloze_error *err);

#endif
