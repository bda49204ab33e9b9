/* What profile.c measures and profile_report.c prints. */
#ifndef CLOZE_BACKEND_PROFILE_INTERNAL_H
#define CLOZE_BACKEND_PROFILE_INTERNAL_H

#include "backend/profile.h"

#define PROFILE_MAX_ROWS 512
#define PROFILE_MAX_EVENTS ((int64_t)1 << 21)
#define PROFILE_EVENT_PHASE (-1) /* an event's row: this minus the phase */

/* Kernels, and the slots beside them that take time. */
typedef enum profile_kernel {
#define KERNEL(name, ...) PROFILE_##name,
#include "backend/ops.def"
#undef KERNEL
    PROFILE_mem_alloc,
    PROFILE_upload,
    PROFILE_download,
    PROFILE_zero,
    PROFILE_sync,
    PROFILE_N_KERNELS
} profile_kernel;

/* One line of the table. */
typedef struct profile_row {
    profile_kernel kernel;
    backend_phase phase;
    int64_t m, k; /* shape of the weight; 0 for a kernel without one */
    int64_t calls;
    double seconds, flops, bytes;
} profile_row;

typedef struct profile_phase {
    int64_t count; /* how often it began */
    double seconds, kernel_seconds;
} profile_phase;

typedef struct profile_event {
    double begin; /* seconds of the monotonic clock */
    float seconds;
    int32_t row;
    int64_t n_rows; /* of the first tensor */
} profile_event;

struct backend_device {
    const backend *inner;
    struct backend_device *device; /* inner's own */
    profile_row rows[PROFILE_MAX_ROWS];
    int n_rows;
    profile_phase phases[PHASE_COUNT];
    backend_phase phase;
    double phase_begun; /* seconds of the monotonic clock */
    bool trace;
    profile_event *events; /* (n_events) */
    int64_t n_events, max_events, n_lost;
};

#endif
