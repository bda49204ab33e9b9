/*
 * The CPU backend's table. All slots but the matrix products lead to the kernels of this processor's
 * instruction set, which the device found when it was opened.
 */
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/device.h"

#define PRODUCT(...)
#define KERNEL(name, parameters, names)                                                            \
    cloze_status cpu_##name(backend_device *dev, OPS_PLAIN parameters, cloze_error *err) {         \
        return dev->kernels->name(dev, OPS_PLAIN names, err);                                      \
    }
#include "backend/ops.def"
#undef KERNEL

const backend backend_cpu = {
    .name = "cpu",
    .device_open = cpu_device_open,
    .device_close = cpu_device_close,
    .mem_alloc = cpu_mem_alloc,
    .mem_free = cpu_mem_free,
    .upload = cpu_copy,
    .download = cpu_copy,
    .zero = cpu_zero,
    .sync = cpu_sync,
    .weight_drop_packs = cpu_weight_drop_packs,
#define KERNEL(slot, ...) .slot = cpu_##slot,
#include "backend/ops.def"
#undef KERNEL
};
