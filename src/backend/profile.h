/*
 * A backend that measures another: every slot notes the time, the floating-point operations and the
 * bytes of the call that it hands on. Nothing is measured, and nothing costs, unless a device was
 * opened through profile_device_open.
 *
 * Calls are added up by phase, kernel and, for matrix products, the shape of the weight. The tape
 * and the trainer say which phase begins (backend_mark); time of a phase that no kernel took shows
 * as "between kernels". ms/pass is the time of one pass through the phase.
 */
#ifndef CLOZE_BACKEND_PROFILE_H
#define CLOZE_BACKEND_PROFILE_H

#include "backend/backend.h"
#include "base/buf.h"

extern const backend backend_profile;

/* Opens a device of `inner` and wraps it: use it with backend_profile, whose device_close closes
 * both. Keeps single calls for profile_write_trace when `trace` is set (24 bytes a call, the first
 * two million). Other arguments and errors as device_open. */
cloze_status profile_device_open(const backend *inner, int device_id, int n_threads, bool trace,
                                 backend_device **out, cloze_error *err);
/* The table, for people: phases in the order of a step, each with its kernels by falling time. */
void profile_write_table(const backend_device *dev, buf *out);
/* All calls kept, as the JSON that chrome://tracing and Perfetto read. */
void profile_write_trace(const backend_device *dev, buf *out);

#endif
