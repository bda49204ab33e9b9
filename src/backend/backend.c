/* The list of backends that this program holds, and the check that one is complete. */
#include "backend/backend.h"

#include <stdio.h>
#include <string.h>

static const backend *const backends[] = {&backend_cpu, &backend_ref};
#define N_BACKENDS (sizeof backends / sizeof *backends)

cloze_status backend_find(const char *device, const backend **out, cloze_error *err) {
    char names[128] = "";
    for (size_t i = 0; i < N_BACKENDS; i++) {
        if (strcmp(backends[i]->name, device) == 0) {
            *out = backends[i];
            return CLOZE_OK;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "",
                 backends[i]->name);
    }
    CLOZE_FAIL(err, USAGE, "there is no device '%s'; this program has: %s", device, names);
}

cloze_status backend_check(const backend *b, cloze_error *err) {
    char missing[512] = "";
    size_t used = 0;
#define SLOT(field)                                                                                \
    if (!b->field && used < sizeof missing) {                                                      \
        used += (size_t)snprintf(missing + used, sizeof missing - used, " %s", #field);            \
    }
    SLOT(name)
    SLOT(device_open)
    SLOT(device_close)
    SLOT(mem_alloc)
    SLOT(mem_free)
    SLOT(upload)
    SLOT(download)
    SLOT(zero)
    SLOT(sync)
    SLOT(weight_drop_packs)
#define KERNEL(slot, ...) SLOT(slot)
#include "backend/ops.def"
#undef KERNEL
#undef SLOT
    if (used == 0) return CLOZE_OK;
    CLOZE_FAIL(err, INTERNAL, "backend '%s' lacks:%s", b->name ? b->name : "?", missing);
}
