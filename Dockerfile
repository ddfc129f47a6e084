# glibc, because the embedded PostgreSQL has no build for musl.
FROM node:22-bookworm-slim AS base
WORKDIR /app

FROM base AS build
COPY package.json package-lock.json .npmrc ./
COPY patches ./patches
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY vendor ./vendor
RUN npm run build

FROM base AS dependencies
COPY package.json package-lock.json .npmrc ./
COPY patches ./patches
RUN npm ci --omit=dev

FROM base
ENV NODE_ENV=production \
    STORAGE_HOST=0.0.0.0 \
    STORAGE_DATA_DIR=/data
# A user that /etc/passwd knows: PostgreSQL's initdb asks for its name.
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin strongroom \
 && install -d -o strongroom -g strongroom -m 0700 /data
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY drizzle ./drizzle
COPY vendor ./vendor
COPY --from=build /app/dist ./dist
RUN ln -s /app/dist/main.js /usr/local/bin/strongroom && chmod 0755 /app/dist/main.js
USER strongroom
VOLUME /data
EXPOSE 8209
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.STORAGE_PORT || 8209) + '/health/live').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["strongroom", "serve"]
