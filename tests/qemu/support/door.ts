import { createServer, type Server, type Socket } from "node:net";

/**
 * A socket in the file system to which QEMU connects when it starts. The other way round, a test would have to ask again and again
 * whether QEMU listens yet.
 */
export class Door {
  readonly path: string;
  /** QEMU's end. */
  readonly socket: Promise<Socket>;
  readonly #server: Server;
  #open: Socket | undefined;

  private constructor(path: string, server: Server) {
    this.path = path;
    this.#server = server;
    this.socket = new Promise((resolve) => {
      server.once("connection", (socket) => {
        this.#open = socket;
        // QEMU may go at any time; whoever waits for it sees its exit.
        socket.on("error", () => {});
        resolve(socket);
      });
    });
  }

  static async listen(path: string): Promise<Door> {
    const server = createServer();
    const door = new Door(path, server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    return door;
  }

  close(): void {
    this.#open?.destroy();
    this.#server.close();
  }
}
