/* Where log lines and progress go: the caller's callbacks, never a stream. */
#ifndef CLOZE_BASE_LOG_H
#define CLOZE_BASE_LOG_H

#include <stdbool.h>

#include "base/error.h"

/* cb may be NULL everywhere. */
void log_line(const cloze_callbacks *cb, cloze_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool log_interrupted(const cloze_callbacks *cb);
/* Says that input is awaited when standard input is a terminal. */
void log_terminal_input(const cloze_callbacks *cb);
double clock_seconds(void); /* monotonic */

/* A progress report throttled to ten a second; the first and the last always go out. */
typedef struct progress {
    const cloze_callbacks *cb;
    cloze_progress state; /* done, loss, rate may be set before progress_update */
    double started, last;
} progress;
void progress_begin(progress *p, const cloze_callbacks *cb, const char *task, const char *unit,
                    int64_t total);
void progress_update(progress *p, int64_t done);
void progress_end(progress *p);

#endif
