import sys, docker
client = docker.DockerClient(base_url=sys.argv[1])
image = sys.argv[2]
assert client.ping()
events = client.events(decode=True, filters={'type': 'container'})
assert client.containers.run(image, ['echo', 'hello'], remove=True) == b'hello\n'
seen = []
for event in events:
    seen.append(event['Action'])
    if event['Action'] == 'destroy':
        break
events.close()
assert [a for a in seen if a in ('create', 'start', 'die', 'destroy')] == ['create', 'start', 'die', 'destroy'], seen

volume = client.volumes.create(name='from-python', labels={'a': 'b'})
box = client.containers.run(image, ['sh', '-c', 'echo kept > /v/f; echo out; echo err >&2; sleep 100'], name='from-python', detach=True,
                            volumes={'from-python': {'bind': '/v', 'mode': 'rw'}}, environment={'A': '1'}, mem_limit='64m', labels={'who': 'python'})
for line in box.logs(stream=True, follow=True, stdout=False):
    break  # it has done its part
box.reload()
assert box.status == 'running', box.status
assert [c.name for c in client.containers.list(filters={'label': 'who=python'})] == ['from-python']
code, output = box.exec_run(['sh', '-c', 'echo $A; cat /v/f; exit 3'])
assert (code, output) == (3, b'1\nkept\n'), (code, output)
code, (stdout, stderr) = box.exec_run(['sh', '-c', 'echo o; echo e >&2'], demux=True)
assert (stdout, stderr) == (b'o\n', b'e\n')
assert box.logs(stderr=False) == b'out\n'
assert box.logs(stdout=False) == b'err\n'
assert box.stats(stream=False)['memory_stats']['limit'] == 64 << 20
assert box.top()['Processes']
bits, stat = box.get_archive('/v/f')
assert stat['name'] == 'f' and b'kept' in b''.join(bits)
box.pause(); box.reload(); assert box.status == 'paused'; box.unpause()
try:
    volume.remove()
    assert False, 'a volume in use was removed'
except docker.errors.APIError as error:
    assert error.status_code == 409 and 'volume is in use' in error.explanation
try:
    client.containers.get('nosuch')
    assert False
except docker.errors.NotFound as error:
    assert error.explanation == 'No such container: nosuch', error.explanation
box.stop(timeout=0)
assert box.wait()['StatusCode'] == 137
box.remove()
assert volume.attrs['Labels'] == {'a': 'b'}
volume.remove()
assert 'from-python' not in [name for c in client.df()['Containers'] for name in c['Names']]
print('done')
