/* The kernels of one instruction set, as a table. The matrix products are not here: see linear.c.
 */
#include "backend/cpu/kernels/kernel.h"

const cpu_kernels KFN(kernels) = {
#define PRODUCT(...)
#define KERNEL(name, ...) .name = KFN(name),
#include "backend/ops.def"
#undef KERNEL
    .make_blocks = KFN(make_blocks),
    .transpose = KFN(transpose),
};
