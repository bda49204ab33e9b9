/* The table and the trace of a profile. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/profile_internal.h"
#include "base/log.h"

static const char *const KERNEL_NAMES[PROFILE_N_KERNELS] = {
#define KERNEL(name, ...) #name,
#include "backend/ops.def"
#undef KERNEL
    "allocate", "upload", "download", "zero", "sync",
};

static const char *const PHASE_NAMES[PHASE_COUNT] = {
    [PHASE_OUTSIDE] = "outside steps",
    [PHASE_PREDICT] = "prediction",
    [PHASE_FORWARD] = "forward",
    [PHASE_BACKWARD] = "backward",
    [PHASE_UPDATE] = "update",
};

/* ---- the table ---- */

/* As a step runs; what is outside of steps last. */
static const backend_phase PHASE_ORDER[PHASE_COUNT] = {PHASE_FORWARD, PHASE_BACKWARD, PHASE_UPDATE,
                                                       PHASE_PREDICT, PHASE_OUTSIDE};

/* By what the times of a phase are divided: how often it ran; outside of steps, how many ran. */
static double phase_passes(const backend_device *d, backend_phase phase) {
    int64_t passes = phase == PHASE_OUTSIDE
                         ? d->phases[PHASE_FORWARD].count + d->phases[PHASE_PREDICT].count
                         : d->phases[phase].count;
    return passes ? (double)passes : 1;
}

/* The phase's time, with what has passed since it began. */
static double phase_seconds(const backend_device *d, backend_phase phase, double now) {
    double seconds = d->phases[phase].seconds;
    return phase == d->phase ? seconds + now - d->phase_begun : seconds;
}

static int by_time(const void *a, const void *b) {
    const profile_row *x = *(const profile_row *const *)a, *y = *(const profile_row *const *)b;
    return x->seconds < y->seconds ? 1 : x->seconds > y->seconds ? -1 : 0;
}

/* A rate in 10^9 a second, or blanks where there is none. */
static void put_rate(buf *out, double amount, double seconds) {
    if (amount > 0 && seconds > 0)
        buf_printf(out, " %9.1f", amount / seconds * 1e-9);
    else
        buf_printf(out, " %9s", "");
}

static void put_row(buf *out, const profile_row *r, double passes, double total) {
    char shape[48] = "";
    if (r->m) snprintf(shape, sizeof shape, "%lldx%lld", (long long)r->m, (long long)r->k);
    buf_printf(out, "  %-24s %-12s %8lld %10.3f %6.1f%%", KERNEL_NAMES[r->kernel], shape,
               (long long)r->calls, r->seconds * 1e3 / passes, 100 * r->seconds / total);
    put_rate(out, r->flops, r->seconds);
    put_rate(out, r->bytes, r->seconds);
    while (out->len && out->data[out->len - 1] == ' ') out->data[--out->len] = 0;
    buf_putc(out, '\n');
}

static void put_phase(const backend_device *d, buf *out, backend_phase phase, double seconds,
                      double total) {
    double passes = phase_passes(d, phase);
    const profile_row *sorted[PROFILE_MAX_ROWS];
    int n = 0;
    double flops = 0, between = seconds - d->phases[phase].kernel_seconds;
    for (int i = 0; i < d->n_rows; i++) {
        if (d->rows[i].phase != phase) continue;
        sorted[n++] = &d->rows[i];
        flops += d->rows[i].flops;
    }
    if (n == 0 && seconds <= 0) return;
    qsort(sorted, (size_t)n, sizeof *sorted, by_time);
    buf_printf(out, "%-47s %10.3f %6.1f%%", PHASE_NAMES[phase], seconds * 1e3 / passes,
               100 * seconds / total);
    put_rate(out, flops, seconds);
    while (out->len && out->data[out->len - 1] == ' ') out->data[--out->len] = 0;
    buf_putc(out, '\n');
    for (int i = 0; i < n; i++) put_row(out, sorted[i], passes, total);
    buf_printf(out, "  %-45s %10.3f %6.1f%%\n", "between kernels", between * 1e3 / passes,
               100 * between / total);
}

void profile_write_table(const backend_device *d, buf *out) {
    double now = clock_seconds(), total = 0, kernels = 0, flops = 0;
    for (int i = 0; i < PHASE_COUNT; i++) {
        total += phase_seconds(d, (backend_phase)i, now);
        kernels += d->phases[i].kernel_seconds;
    }
    for (int i = 0; i < d->n_rows; i++) flops += d->rows[i].flops;
    if (total <= 0) total = 1e-9;
    buf_printf(out,
               "profile: %lld training passes, %lld updates, %lld prediction passes in %.3f s; "
               "kernels %.1f %% of it, %.1f GF/s over all\n",
               (long long)d->phases[PHASE_FORWARD].count, (long long)d->phases[PHASE_UPDATE].count,
               (long long)d->phases[PHASE_PREDICT].count, total, 100 * kernels / total,
               flops / total * 1e-9);
    buf_printf(out, "  %-24s %-12s %8s %10s %7s %9s %9s\n", "kernel", "weight", "calls", "ms/pass",
               "share", "GF/s", "GB/s");
    for (int i = 0; i < PHASE_COUNT; i++)
        put_phase(d, out, PHASE_ORDER[i], phase_seconds(d, PHASE_ORDER[i], now), total);
}

/* ---- the trace ---- */

static void put_event(const backend_device *d, const profile_event *e, double start, buf *out) {
    double us = (e->begin - start) * 1e6;
    if (e->row < 0) {
        buf_printf(out,
                   "{\"name\": \"%s\", \"ph\": \"X\", \"ts\": %.3f, \"dur\": %.3f, \"pid\": 1, "
                   "\"tid\": 1}",
                   PHASE_NAMES[PROFILE_EVENT_PHASE - e->row], us, (double)e->seconds * 1e6);
        return;
    }
    const profile_row *r = &d->rows[e->row];
    buf_printf(out, "{\"name\": \"%s", KERNEL_NAMES[r->kernel]);
    if (r->m) buf_printf(out, " %lldx%lld", (long long)r->m, (long long)r->k);
    buf_printf(out,
               "\", \"cat\": \"%s\", \"ph\": \"X\", \"ts\": %.3f, \"dur\": %.3f, \"pid\": 1, "
               "\"tid\": 2, \"args\": {\"rows\": %lld}}",
               PHASE_NAMES[r->phase], us, (double)e->seconds * 1e6, (long long)e->n_rows);
}

void profile_write_trace(const backend_device *d, buf *out) {
    double start = d->n_events ? d->events[0].begin : 0;
    for (int64_t i = 0; i < d->n_events; i++)
        if (d->events[i].begin < start) start = d->events[i].begin;
    buf_puts(out, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n"
                  "{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": 1, \"args\": {\"name\": "
                  "\"cloze\"}},\n"
                  "{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": 1, \"args\": "
                  "{\"name\": \"phases\"}},\n"
                  "{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": 2, \"args\": "
                  "{\"name\": \"kernels\"}}");
    for (int64_t i = 0; i < d->n_events; i++) {
        buf_puts(out, ",\n");
        put_event(d, &d->events[i], start, out);
    }
    buf_printf(out, "\n], \"otherData\": {\"calls_not_kept\": %lld}}\n", (long long)d->n_lost);
}
