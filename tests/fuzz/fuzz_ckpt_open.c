/* covers: src/ckpt/zip.c src/ckpt/ckpt_read.c */
/* seeds: tests/unit/ckpt/data */
/* Any bytes as a checkpoint file. */
#include "ckpt_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_open(data, n);
    return 0;
}
