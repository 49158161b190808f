// placeholder until the terminal is there
export const open = () => {};
