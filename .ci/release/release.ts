// What all parts of a release share.

export interface Release {
  readonly version: string;
  /** Where the finished files go. */
  readonly directory: string;
  readonly cpu: "x64" | "arm64";
  /** The time of all files in it, in seconds since 1970: that of the commit. */
  readonly seconds: number;
}

/** Packages sort 1.0.0~rc.1 before 1.0.0, as versions mean it with a dash. */
export const packageVersion = ({ version }: Release): string => version.replace("-", "~");
