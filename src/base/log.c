/* Log lines and throttled progress reports, through the caller's callbacks; see log.h. */
#include "base/log.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_INTERVAL 0.1 /* seconds between two reports */

void log_line(const cloze_callbacks *cb, cloze_log_level level, const char *fmt, ...) {
    if (!cb || !cb->log) return;
    char line[4096];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n >= 0) cb->log(cb->user, level, line);
}

bool log_interrupted(const cloze_callbacks *cb) {
    return cb && cb->interrupted && cb->interrupted(cb->user) != 0;
}

void log_terminal_input(const cloze_callbacks *cb) {
    if (isatty(STDIN_FILENO))
        log_line(cb, CLOZE_LOG_INFO, "Reading lines from the terminal (Ctrl-D ends the input)");
}

double clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void progress_report(progress *p, double now) {
    p->last = now;
    p->state.seconds = now - p->started;
    if (p->cb && p->cb->progress) p->cb->progress(p->cb->user, &p->state);
}

void progress_begin(progress *p, const cloze_callbacks *cb, const char *task, const char *unit,
                    int64_t total) {
    *p = (progress){.cb = cb, .started = clock_seconds()};
    p->state = (cloze_progress){.task = task,
                                .total = total,
                                .unit = unit,
                                .loss = NAN,
                                .rate = NAN,
                                .samples_per_second = NAN};
    progress_report(p, p->started);
}

void progress_update(progress *p, int64_t done) {
    p->state.done = done;
    double now = clock_seconds();
    if (now - p->last >= PROGRESS_INTERVAL) progress_report(p, now);
}

void progress_end(progress *p) {
    p->state.finished = 1;
    progress_report(p, clock_seconds());
}
