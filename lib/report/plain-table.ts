/** plain-table: the look of every table: columns, no lines. */

/** Options for cli-table3. */
export const PLAIN_TABLE = {
  chars: {
    ...{ top: "", "top-mid": "", "top-left": "", "top-right": "" },
    ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
    ...{
      left: "",
      "left-mid": "",
      mid: "",
      "mid-mid": "",
      right: "",
      "right-mid": "",
      middle: "  ",
    },
  },
  style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
};
