// What the executable is made of: the entry, the plugins that leave parts of packages out, and the packages that stay in.
import { dirname, join } from "node:path";

export const root = join(import.meta.dir, "..");

/** dockerode drags in gRPC (BuildKit) and SSH, which we never use: 17 MB of memory, and code generation from strings. */
const withoutUnusedTransports: Bun.BunPlugin = {
  name: "without-unused-transports",
  setup(builder) {
    const unused = /^(@grpc\/grpc-js|@grpc\/proto-loader|protobufjs|ssh2|\.\/session|\.\/ssh)$/;
    builder.onResolve({ filter: unused }, ({ path, importer }) =>
      /[/\\]node_modules[/\\](dockerode|docker-modem)[/\\]/.test(importer)
        ? { path, namespace: "unused" }
        : undefined,
    );
    builder.onLoad({ filter: /.*/, namespace: "unused" }, () => ({
      contents: "module.exports = {};",
      loader: "js",
    }));
  },
};

/**
 * The Socket.IO client as a browser gets it, without `ws`, an XMLHttpRequest and `debug`: the session brings its own
 * websocket. Only what the client itself imports; the sandbox's server keeps the flavours it needs.
 */
const leanRealtimeClient: Bun.BunPlugin = {
  name: "lean-realtime-client",
  setup(builder) {
    const modules = join(root, "node_modules");
    const isClient = (importer: string): boolean =>
      /[/\\]node_modules[/\\](socket|engine)\.io-client[/\\]/.test(importer);
    builder.onResolve({ filter: /^(socket|engine)\.io-client$/ }, ({ path }) => ({
      path: join(modules, path, "build/esm/index.js"),
    }));
    builder.onResolve({ filter: /^socket\.io-parser$/ }, ({ path, importer }) =>
      isClient(importer) ? { path: join(modules, path, "build/esm/index.js") } : undefined,
    );
    // Its package.json names the same counterparts, for browsers.
    builder.onResolve({ filter: /\.node\.js$/ }, ({ path, importer }) =>
      isClient(importer) ? { path: join(dirname(importer), path.replace(/\.node\.js$/, ".js")) } : undefined,
    );
  },
};

export const bundle = {
  entrypoints: [join(root, "src/main.ts")],
  format: "esm",
  minify: true,
  // What is imported lazily is a module of its own, and costs no memory until then: 2 MB of the idle agent.
  splitting: true,
  env: "disable",
  plugins: [withoutUnusedTransports, leanRealtimeClient],
  throw: false,
} as const;

/** Names of the packages whose code is in the executable, sorted. Bundles once, without writing anything. */
export async function packagesInBundle(): Promise<readonly string[]> {
  const { success, logs, metafile } = await Bun.build({
    ...bundle,
    entrypoints: [...bundle.entrypoints],
    plugins: [...bundle.plugins],
    target: "bun",
    metafile: true,
  });
  if (!success || metafile === undefined) throw new Error(`the bundle failed: ${logs.join("\n")}`);
  const names = Object.keys(metafile.inputs).flatMap(
    (path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? [],
  );
  return [...new Set(names)].toSorted();
}
