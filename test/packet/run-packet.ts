/** A packet through a tc program, as from a device that has summed it up. */
import { KernelError, type TestRunInput, type TestRunResult, testRun } from '@ciliate/kernel';

let kernelKnowsSums = true;

/**
 * testRun with CHECKSUM_COMPLETE, so that every packet test also fails (EBADMSG) when the device's sum does not follow what the program changes: the
 * stack would call it a fault of the device, and sum up each packet anew. Of a packet
 * whose length changes the kernel gives the sum up (CHECKSUM_NONE), but the test run does not notice: tests of answers send what is as long as the
 * answer. Kernels that do not know the flag run without.
 */
export function runPacket(fd: number, input: TestRunInput & { readonly data: Uint8Array }): TestRunResult {
  if (!kernelKnowsSums) return testRun(fd, input);
  try {
    return testRun(fd, { ...input, checksumComplete: true });
  } catch (error) {
    if (!(error instanceof KernelError) || error.errno !== 'EINVAL') {
      const isSumWrong = error instanceof KernelError && error.errno === 'EBADMSG';
      throw isSumWrong ? new Error('the sum of CHECKSUM_COMPLETE is not that of the packet any more') : error;
    }
    const result = testRun(fd, input);
    kernelKnowsSums = false;
    return result;
  }
}
