import fc from 'fast-check';

const seed = Number(process.env['LAZYPULL_SEED']);

// What CI runs fails for a change and not for a number. By hand each run takes another seed, which a failure names.
if (Number.isSafeInteger(seed)) fc.configureGlobal({ seed });

/** fast-check, whose properties take their values from LAZYPULL_SEED if it is set. */
export default fc;
