/* Any bytes as a checkpoint file. Seeds: tests/unit/ckpt/data. */
#include "ckpt_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_open(data, n);
    return 0;
}
