/** Configuration and page of an nginx container: everything it writes lies in /run/pod, which is the pod's own. Pure. */
export function nginxConfig(ports: readonly number[]): string {
  const listen = (ports.length === 0 ? [80] : ports)
    .map(port => `    listen ${port};\n    listen [::]:${port} ipv6only=on;`)
    .join('\n');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(name => `  ${name}_temp_path /run/pod/nginx/${name};`)
    .join('\n');
  return `user root;
worker_processes 1;
daemon off;
pid /run/pod/nginx/nginx.pid;
error_log stderr notice;
events { worker_connections 512; }
http {
  access_log /dev/stdout;
  default_type text/plain;
  types { text/html html; }
${temporary}
  server {
${listen}
    root /run/pod/nginx/html;
    index index.html;
  }
}
`;
}

export function nginxPage(podName: string, nodeName: string): string {
  return `<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body>
<h1>Welcome to nginx!</h1>
<p>Pod ${podName} on node ${nodeName} answers.</p>
</body>
</html>
`;
}
